"""The keys of the main screen, and what help says of all."""

from __future__ import annotations

from textual.binding import Binding, BindingType

KEYS: list[BindingType] = [
    ("q", "quit_now"),
    Binding("ctrl+c", "quit_now", priority=True),
    ("question_mark", "help"),
    Binding("tab,shift+tab", "other_side", priority=True),
    ("slash", "ask('search')"),
    ("f", "ask('filter')"),
    ("n", "search(1)"),
    ("N", "search(-1)"),
    ("w", "only_wasted"),
    ("W", "all_wasted"),
    ("s", "sort"),
    ("d", "details"),
    ("e", "fold(True)"),
    ("c", "fold(False)"),
    ("plus", "mark('added')"),
    ("tilde", "mark('changed')"),
    ("minus", "mark('removed')"),
    ("equals_sign", "mark('unchanged')"),
    ("escape", "everything"),
    ("space", "fold_one"),
    ("right,l", "open(True)"),
    ("left,h", "open(False)"),
]
HELP = """\
Tab            the other side          q, Ctrl-C  quit
arrows, hjkl   move                    ?          this help
Enter          open a directory or a file, follow a link
               (in a file right and left move over long lines)
Space          fold or unfold a directory
e   c          unfold all, fold all
/   n   N      search, the next match, the one before
f              list only what matches: words, patterns (*.so), >10MB, <1kB
+   ~   -   =  list or leave out what is added, changed, removed, unchanged
w              list only what is wasted, files that no longer show
W              all that is wasted, the largest first
s              by size or by name
d              all that is known of the layer or the file
Esc            all again: no filter

+ added   ~ changed   - removed   . something below it was touched
Sizes of directories are those of all in them. Layers are listed with the lowest first."""
