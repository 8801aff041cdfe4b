"""The types of settings, from their annotations: one table for TOML files and the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class SettingType:
    """The type of one setting.

    Attributes:
        item: Type of the value, or of each of several.
        several: Whether the value is a tuple.
        length: Number of values of a tuple; `None` for any number.
        optional: Whether the value may be `None`.
    """

    item: type
    several: bool = False
    length: int | None = None
    optional: bool = False

    def convert(self, name: str, value: Any) -> Any:
        """Returns `value`, which a TOML file may hold in another form: integers for floats, lists.

        Raises:
            ValueError: If it has another type.
        """
        if value is None and self.optional:
            return None
        if not self.several and self._fits(value):
            return self.item(value)
        fits = self.several and isinstance(value, list | tuple) and self.length in (None, len(value))
        if fits and all(map(self._fits, value)):
            return tuple(self.item(one) for one in value)
        raise ValueError(f"Expected `{name}` to be {self}. Received: {name}={value!r}")

    def __str__(self) -> str:
        text = self.item.__name__
        if self.several:
            text = f"tuple[{text}, ...]" if self.length is None else f"{self.length} of {text}"
        return f"{text} or nothing" if self.optional else text

    def _fits(self, value: Any) -> bool:
        return type(value) is self.item or (self.item is float and type(value) is int)


def setting_types(settings: type) -> dict[str, SettingType]:
    """Returns the type of each field of a dataclass of settings, by name."""
    hints = get_type_hints(settings)
    return {field.name: _setting_type(hints[field.name]) for field in fields(settings)}


def _setting_type(hint: Any) -> SettingType:
    optional = False
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
        optional = True
    if get_origin(hint) is not tuple:
        return SettingType(hint, optional=optional)
    items = get_args(hint)
    length = None if items[-1] is Ellipsis else len(items)
    return SettingType(items[0], several=True, length=length, optional=optional)
