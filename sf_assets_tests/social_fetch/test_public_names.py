import importlib
import inspect

import sf_assets.social_fetch as social_fetch

MODULES = ("client", "errors", "models", "pages", "pagination", "quick")


def test_the_public_names_are_exactly_those_of_the_modules() -> None:
    names: set[str] = set()
    for module in MODULES:
        names.update(importlib.import_module(f"sf_assets.social_fetch.{module}").__all__)
    assert set(social_fetch.__all__) == names


def test_every_public_name_is_there_and_sorted() -> None:
    for name in social_fetch.__all__:
        assert hasattr(social_fetch, name), name
    assert len(set(social_fetch.__all__)) == len(social_fetch.__all__)


def test_every_public_class_and_function_says_what_it_is() -> None:
    for name in social_fetch.__all__:
        value = getattr(social_fetch, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
