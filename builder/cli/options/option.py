"""What may stand on a command line, as data: a command's class has a row for each option, an instance the values of one line.

`fast_parser` reads lines by these rows; `click_command` makes click's objects of them, where click is needed at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.cache.foundation.typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import Any

FLAG, TEXT, MANY, NUMBER = "flag", "text", "many", "number"
Default = bool | int | str | tuple[str, ...] | None


class Option:
    """One option, or an argument where `names` is empty.

    `off` is a flag's contrary; `bare` is the value of an option that may come without one; `ignored` is why it has no effect here,
    "" where nothing needs to be said; `refused` is why it cannot be had.
    """

    __slots__ = (
        "bare", "choices", "default", "field", "help", "ignored", "kind", "metavar", "names", "off", "refused", "variable",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        names: tuple[str, ...],
        default: Default,
        metavar: str = "",
        help: str = "",
        choices: tuple[str, ...] = (),
        variable: str = "",
        bare: str = "",
        off: str = "",
        ignored: str | None = None,
        refused: str = "",
    ) -> None:
        self.kind = kind
        self.names = names
        self.default = default
        self.metavar = metavar
        self.help = help
        self.choices = choices
        self.variable = variable  # of the environment, which stands for the option
        self.bare = bare
        self.off = off
        self.ignored = ignored
        self.refused = refused
        self.field = ""  # its name in the class


class Arguments:
    """A command line: rows in the class, values in an instance. Rows of base classes come after a class's own."""

    rows: tuple[Option, ...] = ()
    ends_options = False  # what follows the first argument is a command's own

    def __init_subclass__(cls) -> None:
        own = []
        for name, row in list(cls.__dict__.items()):
            if isinstance(row, Option):
                row.field = name
                own.append(row)
                setattr(cls, name, row.default)
        cls.rows = (*own, *(row for base in cls.__bases__ for row in getattr(base, "rows", ())))

    def __init__(self, given: Mapping[str, object] | None = None, /, **values: Any) -> None:
        self.__dict__.update(given or {}, **values)

    def remarks(self) -> list[str]:
        """Return what to say of options that were given and have no effect."""
        return [
            f"{row.names[0]}{'=false' if row.off and row.default else ''} has no effect: {row.ignored}"
            for row in self.rows
            if row.ignored and getattr(self, row.field) != row.default
        ]


def flag(
    *names: str, help: str, off: str = "", default: bool = False, ignored: str | None = None, refused: str = ""
) -> bool:
    """Describe a switch."""
    return cast("bool", Option(FLAG, names, default, help=help, off=off, ignored=ignored, refused=refused))


def text(
    *names: str,
    metavar: str = "",
    help: str,
    default: str = "",
    choices: tuple[str, ...] = (),
    variable: str = "",
    bare: str = "",
) -> str:
    """Describe an option with a value; the last one counts."""
    return cast("str", Option(TEXT, names, default, metavar, help, choices, variable, bare))


def maybe(*names: str, metavar: str, help: str) -> str | None:
    """Describe an option whose empty value is another thing than none."""
    return cast("str | None", Option(TEXT, names, None, metavar, help))


def many(
    *names: str, metavar: str = "VALUE", help: str, ignored: str | None = None, refused: str = ""
) -> tuple[str, ...]:
    """Describe an option that may be repeated."""
    return cast("tuple[str, ...]", Option(MANY, names, (), metavar, help, ignored=ignored, refused=refused))


def number(*names: str, metavar: str = "NUMBER", help: str) -> int:
    """Describe an option whose value is a whole number; 0 where it is not given."""
    return cast("int", Option(NUMBER, names, 0, metavar, help))


def argument(metavar: str) -> str:
    """Describe a word that has to be there."""
    return cast("str", Option(TEXT, (), "", metavar))


def arguments(metavar: str) -> tuple[str, ...]:
    """Describe all words that follow."""
    return cast("tuple[str, ...]", Option(MANY, (), (), metavar))


def ignored_flag(*names: str, why: str = "", off: str = "", default: bool = False) -> bool:
    """Describe a switch of docker's that changes nothing here."""
    return flag(*names, help=_without_effect(why), off=off, default=default, ignored=why)


def ignored_many(*names: str, why: str = "") -> tuple[str, ...]:
    """Describe an option of docker's that changes nothing here."""
    return many(*names, help=_without_effect(why), ignored=why)


def _without_effect(why: str) -> str:
    return f"No effect: {why}." if why else "No effect."
