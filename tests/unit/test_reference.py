"""The reference of the inventory: what a key's field has to say of it, and whether that is true."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, create_model

from catmaid_deploy import schema
from catmaid_deploy.schema import values
from docs import reference

EXAMPLES = [
    pytest.param(model, key, example, id=f"{model.__name__}.{key}")
    for model in reference.MODELS
    for key, field in model.model_fields.items()
    for example in field.examples or ()
]


def test_every_key_has_a_description_an_example_and_the_unit_of_what_it_counts() -> None:
    assert list(reference.lacking(reference.MODELS)) == []


@pytest.mark.parametrize(("model", "key", "example"), EXAMPLES)
def test_an_example_is_valid_by_its_own_field(model: type[BaseModel], key: str, example: Any) -> None:
    field = model.model_fields[key]
    alone: Any = {key: (field.annotation, field)}
    create_model("Alone", **alone).model_validate({key: example})


class Bare(BaseModel):
    """Fields as one may forget to write them."""

    silent: bool = Field(True, examples=[False])
    shown: bool = Field(True, description="Has no example.")
    workers: int = Field(8, examples=[4], description="Has no unit.")
    patience: Annotated[values.Count, Field(ge=1)] | None = Field(None, examples=[4], description="Has none either.")
    body: values.Size = Field("20m", examples=["1g"], description="Nor has this one.")
    port: values.Port = Field(80, examples=[8080], description="Counts nothing.")
    names: tuple[str, ...] = Field((), examples=[["a"]], description="Counts nothing.")
    seconds: int = Field(8, examples=[4], json_schema_extra={"unit": "seconds"}, description="Has all.")


def test_what_a_field_lacks_is_one_sentence() -> None:
    assert list(reference.lacking([Bare])) == [
        "Bare.silent has no description: say what it is for, as description=... in its Field",
        "Bare.shown has no example: give what an inventory may have there, as examples=[...] in its Field",
        *(
            f'Bare.{key} has no unit: say what it counts, as json_schema_extra={{"unit": "..."}} in its Field'
            for key in ("workers", "patience", "body")
        ),
    ]


def test_the_page_has_every_model_by_the_keys_that_lead_to_it() -> None:
    assert reference.MODELS[schema.Site] == "site"
    assert reference.MODELS[schema.Instance] == "instances"
    assert reference.MODELS[schema.Address] == "database, broker"


def test_a_secret_stands_on_the_page_as_an_inventory_reads_it() -> None:
    page = reference.page()
    assert '`"key": secret.from_environment("EAB_KEY")`' in page
    assert "*" * 10 not in page
