import pytest

from edgekit_agent.service.content import Content, UnsupportedContentError, content


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("application/json", Content.JSON),
        ("application/json; charset=UTF-8", Content.JSON),
        ("text/csv;charset=utf-8", Content.CSV),
    ],
)
def test_what_is_read(header: str, found: Content) -> None:
    assert content(header) is found


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (
            "",
            "This predictor only supports the following content types: Types: ['text/csv',",
        ),
        ("application/xml", "Got 'application/xml'."),
        ("text/csv; charset=latin-1", "The scoring server only supports UTF-8"),
        ("text/csv; header=present", "Unrecognized content type parameters: header. IMPO"),
    ],
)
def test_what_is_not_read_gets_mlflows_sentence(header: str, sentence: str) -> None:
    with pytest.raises(UnsupportedContentError) as refusal:
        content(header)
    assert sentence in str(refusal.value)
