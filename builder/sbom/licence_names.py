"""Names of licences that Debian, rpm, PyPI's classifiers and people use, by SPDX's."""

from __future__ import annotations

from collections.abc import Mapping


def _gnu() -> dict[str, str]:
    """Return the ways to write GNU's licences: GPL-2, GPLv2+, LGPL-2.1+."""
    found = {}
    versions = {"GPL": ("1", "2", "3"), "LGPL": ("2", "2.1", "3"), "AGPL": ("3",), "GFDL": ("1.1", "1.2", "1.3")}
    for family, numbers in versions.items():
        for number in numbers:
            full = number if "." in number else f"{number}.0"
            for written in {number, full}:
                for start in (
                    f"{family}-{written}",
                    f"{family}v{written}",
                    f"{family}{written}",
                    f"{family} {written}",
                ):
                    found[start.lower()] = f"{family}-{full}-only"
                    found[f"{start}-only".lower()] = f"{family}-{full}-only"
                    for later in ("+", "-or-later", " or later"):
                        found[f"{start}{later}".lower()] = f"{family}-{full}-or-later"
    return found


ALIASES: Mapping[str, str] = {
    **_gnu(),
    "expat": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "mit-license": "MIT",
    "x11": "X11",
    "apache-2": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache2": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "the apache license, version 2.0": "Apache-2.0",
    "the apache software license, version 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "https://www.apache.org/licenses/license-2.0.txt": "Apache-2.0",
    "http://www.apache.org/licenses/license-2.0.txt": "Apache-2.0",
    "bsd-2-clauses": "BSD-2-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clauses": "BSD-3-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mpl 2.0": "MPL-2.0",
    "mplv2.0": "MPL-2.0",
    "mpl-2": "MPL-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psf": "PSF-2.0",
    "psf-2": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "zlib/libpng": "zlib-acknowledgement",
    "artistic": "Artistic-1.0-Perl",
    "artistic-2": "Artistic-2.0",
    "boost software license": "BSL-1.0",
    "bsl-1": "BSL-1.0",
    "cc0": "CC0-1.0",
    "unlicense": "Unlicense",
    "openssl": "OpenSSL",
    "ruby": "Ruby",
    "gpl": "GPL-1.0-or-later",
    "lgpl": "LGPL-2.0-or-later",
    "eclipse public license 2.0": "EPL-2.0",
    "eclipse public license - v 2.0": "EPL-2.0",
    "eclipse public license 1.0": "EPL-1.0",
}
