import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.document import Reader, canonical_json, refuse_unknown
from edgekit.errors import ConfigError
from tests.core.examples import JSON


def reader(**table: object) -> Reader:
    return Reader(table=table, subject="agent.toml", error=ConfigError)


@given(st.dictionaries(st.text(), JSON))
def test_any_document_survives_writing_and_reading(table: dict[str, object]) -> None:
    read = Reader.from_json(canonical_json(table), subject="it", error=ConfigError)
    assert read.table == table


def test_equal_documents_give_equal_bytes() -> None:
    assert canonical_json({"b": 1, "a": ["é", None]}) == '{"a":["é",null],"b":1}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_has_not_is_not_written(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_json({"a": value})


@pytest.mark.parametrize(
    "data", [b"{", b"[1]", b"1e999", b'{"a": -Infinity}', b'{"a": "\\udfff"}', b"\xff{}"]
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^it: (not JSON: .*|a JSON object is expected)"):
        Reader.from_json(data, subject="it", error=ConfigError)


def test_an_unknown_key_is_refused_with_its_nearest_spelling() -> None:
    with pytest.raises(
        ConfigError, match=r"^agent\.toml: unknown key devcie; did you mean device\?$"
    ):
        refuse_unknown(
            {"devcie": 1}, ["device", "fleet"], subject="agent.toml", error=ConfigError
        )


def test_an_unknown_key_like_no_other_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown key zzz; known: device, fleet$"):
        refuse_unknown({"zzz": 1}, ["fleet", "device"], subject="it", error=ConfigError)


def test_known_keys_pass() -> None:
    refuse_unknown({"device": 1}, ["device"], subject="it", error=ConfigError)


def test_values_are_read_by_their_type() -> None:
    read = reader(t="x", i=3, n=1.5, whole=2, f=False, ts=["a"], o={"k": "v"}, os=[{}])
    assert read.text("t") == "x"
    assert read.integer("i") == 3
    assert (read.number("n"), read.number("whole")) == (1.5, 2.0)
    assert read.flag("f") is False
    assert read.texts("ts") == ("a",)
    assert read.child("o").text("k") == "v"
    assert read.string_map("o") == {"k": "v"}
    assert len(read.children("os")) == 1
    assert set(read.rest({"t", "i"})) == {"n", "whole", "f", "ts", "o", "os"}


def test_absent_values_take_their_defaults() -> None:
    read = reader()
    assert read.text("t", "x") == "x"
    assert read.integer("i", 3) == 3
    assert read.number("n", 1.5) == 1.5
    assert read.flag("f", default=True) is True
    assert read.texts("ts", ()) == ()
    assert read.string_map("o", optional=True) == {}
    assert read.children("os", optional=True) == ()
    assert read.named("named", optional=True) == {}


@pytest.mark.parametrize("method", ["text", "integer", "number", "flag", "texts", "child"])
def test_an_absent_value_without_a_default_is_an_error(method: str) -> None:
    with pytest.raises(ConfigError, match=r"^agent\.toml: key: .* is expected$"):
        getattr(reader(), method)("key")


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", 1),
        ("text", None),
        ("integer", True),
        ("integer", 1.0),
        ("integer", -1),
        ("integer", 2**53 + 1),
        ("number", "1"),
        ("number", True),
        ("number", float("nan")),
        ("number", float("-inf")),
        ("number", 10**400),
        ("flag", 1),
        ("texts", "abc"),
        ("texts", ["a", 1]),
        ("child", []),
        ("children", {}),
        ("children", [1]),
        ("sha256", "ab" * 31),
        ("sha256", "AB" * 32),
        ("string_map", {"a": 1}),
        ("named", {"a": 1}),
    ],
)
def test_a_value_of_another_type_or_range_is_an_error(method: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"^agent\.toml: key.* is expected$"):
        getattr(reader(key=value), method)("key")


def test_an_error_inside_says_where() -> None:
    read = reader(models=[{"name": "wine"}, {"name": 3}])
    with pytest.raises(ConfigError, match=r"^agent\.toml: models\[1\]: name: a text is"):
        read.children("models")[1].text("name")


def test_a_choice_is_one_of_the_known_words() -> None:
    assert reader(mode="strict").one_of("mode", ("strict", "off")) == "strict"
    assert reader().one_of("mode", ("strict", "off"), "off") == "off"
    with pytest.raises(
        ConfigError, match=r"^agent\.toml: mode: one of strict, off is expected$"
    ):
        reader(mode="Strict").one_of("mode", ("strict", "off"))


def test_null_is_as_good_as_nothing() -> None:
    read = reader(there=0, null=None)
    assert [read.has(key) for key in ("there", "null", "absent")] == [True, False, False]
