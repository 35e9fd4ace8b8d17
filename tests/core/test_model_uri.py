import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ConfigError, RegistryError
from edgekit.registry.uri import (
    AliasUri,
    LatestUri,
    ModelUri,
    RunUri,
    Selector,
    SelectorKind,
    StageUri,
    VersionUri,
    parse,
)

names = st.text(min_size=1).filter(lambda s: s.strip() and not set(s) & set("/:@"))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/wine/3", VersionUri(name="wine", version="3")),
        ("models:/wine/Production", StageUri(name="wine", stage="Production")),
        ("models:/wine/production", StageUri(name="wine", stage="Production")),
        ("models:/wine@champion", AliasUri(name="wine", alias="champion")),
        ("models:/wine@Champion", AliasUri(name="wine", alias="Champion")),
        ("models:/wine/LATEST", LatestUri(name="wine")),
        ("models:/anomaly detector/1", VersionUri(name="anomaly detector", version="1")),
        ("models:/ü@ünïcode", AliasUri(name="ü", alias="ünïcode")),
        ("runs:/abc/model", RunUri(run_id="abc", path="model")),
        ("runs:/abc/a/b", RunUri(run_id="abc", path="a/b")),
    ],
)
def test_the_grammar_is_mlflows(uri: str, expected: ModelUri) -> None:
    assert parse(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "wine",
        "models:/",
        "models:/wine",
        "models:/wine/",
        "models:/wine/1/MLmodel",
        "models:/@champion",
        "models:/wine@",
        "models://1",
        "runs:/abc",
        "s3://bucket/model",
    ],
)
def test_what_is_no_model_uri_is_answered_with_the_forms(uri: str) -> None:
    with pytest.raises(RegistryError, match=r"not a model URI; models:/NAME/VERSION"):
        parse(uri)


def test_a_misspelt_stage_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(
        RegistryError, match=r"'Stagin' is no MLflow stage; did you mean St"
    ):
        parse("models:/wine/Stagin")


@given(name=names, alias=st.from_regex(r"[\w\-]+", fullmatch=True))
def test_a_selectors_uri_names_the_model_and_the_alias(name: str, alias: str) -> None:
    selector = Selector.parse(f"@{alias}", subject="canary")

    assert parse(selector.uri(name)) == AliasUri(name=name, alias=alias)


def test_a_selector_is_written_as_it_is_read() -> None:
    for text in ("@production", "stage:Production"):
        assert str(Selector.parse(text, subject="x")) == text


def test_a_stage_selector_is_spelt_as_mlflow_spells_it() -> None:
    selector = Selector.parse("stage:STAGING", subject="x")

    assert selector == Selector(kind=SelectorKind.STAGE, name="Staging")
    assert selector.uri("wine") == "models:/wine/Staging"


def test_an_empty_alias_is_refused() -> None:
    with pytest.raises(ConfigError, match="an alias"):
        Selector.parse("@", subject="x")
