"""What may stand on a command line, as data: a command's class has a row for each option, an instance the values of
one line.

`fast_parser` reads lines by these rows; `click_command` makes click's objects of them, where click is needed at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

TIERS = "{tiers}"  # in the help of an option: the names of all
Value = bool | int | str | tuple[str, ...] | None
DONE, WITHOUT_EFFECT, REFUSED = (
    "done",
    "without effect",
    "refused",
)  # what becomes of an option; the others are docker's
FURTHER = "Docker's options that change nothing here, or are refused"  # the title of these


class Option:
    """One option, or an argument where `names` is empty. Read from a line it is its value there.

    `why` says why it has no effect here, "" where nothing needs to be said, or why it is refused; `allowed` are values
    of a refused option that ask for what is so anyhow. `judged` ones are refused by the command, which looks at their
    values.
    """

    default: Value = None
    off = ""  # a flag's contrary
    bare = ""  # the value of an option that may come without one
    choices: tuple[str, ...] = ()
    variable = ""  # of the environment, which stands for the option
    is_needed = False

    def __init__(
        self, *names: str, metavar: str = "", help: str = "", effect: str = DONE, why: str = "", judged: bool = False
    ) -> None:
        self.names = names
        self.metavar = metavar
        self.effect = effect
        self.why = why
        self._help = help
        self.is_refused = effect == REFUSED and not judged
        self.field = ""  # its name in the class

    def __set_name__(self, owner: type, name: str) -> None:
        self.field = name

    @property
    def help(self) -> str:
        """Return what it does."""
        if not self._help:
            return _told(self.effect, self.why)
        if TIERS not in self._help:
            return self._help
        from tiffin.builder.api import machine

        return self._help.replace(TIERS, ", ".join(machine.TIERS))

    def on(self, line: Arguments) -> Value:
        """Return its value on a line."""
        value: Value = line.__dict__.get(self.field, self.default)
        return value

    def spelling(self) -> str:
        """Return how it is written: its names and what follows them."""
        names = ", ".join(sorted(self.names, key=lambda name: name.startswith("--"))) + (
            f" / {self.off}" if self.off else ""
        )
        metavar = self.metavar or (f"[{'|'.join(self.choices)}]" if self.choices else "")
        return f"{names} {metavar}" if metavar else names


class Flag(Option):
    """A switch."""

    default: bool

    def __init__(
        self,
        *names: str,
        help: str = "",
        off: str = "",
        default: bool = False,
        effect: str = DONE,
        why: str = "",
        variable: str = "",
    ) -> None:
        super().__init__(*names, help=help, effect=effect, why=why)
        self.default = default
        self.off = off
        self.variable = variable

    def __get__(self, line: object, owner: type) -> bool:
        return self.default


class Text(Option):
    """An option with a value; the last one counts."""

    default: str

    def __init__(
        self,
        *names: str,
        metavar: str = "",
        help: str = "",
        default: str = "",
        choices: tuple[str, ...] = (),
        variable: str = "",
        bare: str = "",
    ) -> None:
        super().__init__(*names, metavar=metavar, help=help)
        self.default = default
        self.choices = choices
        self.variable = variable
        self.bare = bare

    def __get__(self, line: object, owner: type) -> str:
        return self.default


class Maybe(Option):
    """An option whose empty value is another thing than none."""

    default: str | None = None

    def __init__(self, *names: str, metavar: str, help: str) -> None:
        super().__init__(*names, metavar=metavar, help=help)

    def __get__(self, line: object, owner: type) -> str | None:
        return None


class Number(Option):
    """An option whose value is a whole number, `minimum` at least."""

    default: int

    def __init__(
        self, *names: str, metavar: str = "NUMBER", help: str, default: int = 0, minimum: int | None = None
    ) -> None:
        super().__init__(*names, metavar=metavar, help=help)
        self.default = default
        self.minimum = minimum

    def __get__(self, line: object, owner: type) -> int:
        return self.default


class Many(Option):
    """An option that may be repeated."""

    default: tuple[str, ...] = ()

    def __init__(
        self,
        *names: str,
        metavar: str = "VALUE",
        help: str = "",
        effect: str = DONE,
        why: str = "",
        allowed: tuple[str, ...] = (),
        judged: bool = False,
    ) -> None:
        super().__init__(*names, metavar=metavar, help=help, effect=effect, why=why, judged=judged)
        self.allowed = allowed

    def __get__(self, line: object, owner: type) -> tuple[str, ...]:
        return ()


class Word(Text):
    """An argument; one that has a default may be left out."""

    def __init__(self, metavar: str, default: str | None = None, *, choices: tuple[str, ...] = ()) -> None:
        super().__init__(metavar=metavar, default=default or "", choices=choices)
        self.is_needed = default is None


class Words(Many):
    """All arguments that follow."""

    def __init__(self, metavar: str, *, needed: bool = False) -> None:
        super().__init__(metavar=metavar)
        self.is_needed = needed


class Arguments:
    """A command line: rows in the class, values in an instance. Rows of base classes come after a class's own, but for
    those that it has itself.

    `outer` are the values of options that stand before the word of the command.
    """

    rows: tuple[Option, ...] = ()
    outer: Mapping[str, Value] = {}
    ends_options = False  # what follows the first argument is a command's own

    def __init_subclass__(cls) -> None:
        own = [row for row in cls.__dict__.values() if isinstance(row, Option)]
        names = {row.field for row in own}
        inherited = (row for base in cls.__bases__ for row in getattr(base, "rows", ()))
        cls.rows = (*own, *(row for row in inherited if row.field not in names))

    def __init__(self, given: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        self.__dict__.update(given or {}, **values)

    def notices(self) -> list[str]:
        """Return what to say of options that were given and have no effect."""
        return [
            f"{row.names[0]}{'=false' if row.off and row.default else ''} has no effect: {row.why}"
            for row in self.rows
            if row.effect == WITHOUT_EFFECT and row.why and row.on(self) != row.default
        ]


def _told(effect: str, why: str) -> str:
    match effect:
        case "without effect":
            return f"No effect: {why}." if why else "No effect."
        case "refused":
            return f"Refused: {why}."
        case _:
            return ""
