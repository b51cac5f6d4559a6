"""Prints the menu."""


def main() -> None:
    print("<ul><li>rice</li><li>dal</li></ul>")
