"""The pods that are imitated: what clusters allow, from nothing to everything."""

from __future__ import annotations

from tests.support.pods import Pod
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES
from tiffin.builder.sandbox.tiers.remediation import CALLS

ARBITRARY_UID = 1000680000  # as OpenShift gives one: of no user
RESTRICTED = "`runAsNonRoot`, `drop: [ALL]`, `allowPrivilegeEscalation: false`"

PODS = (
    Pod(name="root", settings="`seccompProfile: RuntimeDefault`"),
    Pod(name="root, Unconfined", settings=("`seccompProfile: Unconfined`, or none and no `seccompDefault`"),
        filtered=False),
    Pod(
        name="restricted",
        settings=f"{RESTRICTED}, `RuntimeDefault`: the Pod Security Standard *restricted*",
        uid=ARBITRARY_UID,
        capabilities=(),
        no_new_privs=True,
        environ={},
    ),
    Pod(
        name="restricted, read-only",
        settings="the same with `readOnlyRootFilesystem` and a volume",
        uid=ARBITRARY_UID,
        capabilities=(),
        no_new_privs=True,
        read_only=True,
        environ={},
    ),
    Pod(
        name="restricted, Localhost",
        settings=f"{RESTRICTED}, and the `Localhost` profile that `tiffin info` describes: still *restricted*",
        uid=ARBITRARY_UID,
        capabilities=(),
        no_new_privs=True,
        allowed_calls=tuple(CALLS.split()),
        environ={},
    ),
    Pod(
        name="drop ALL, Unconfined",
        settings=f"{RESTRICTED}, `Unconfined`",
        uid=ARBITRARY_UID,
        capabilities=(),
        no_new_privs=True,
        filtered=False,
        environ={},
    ),
    Pod(name="hostUsers: false", settings="`RuntimeDefault`", own_users=True),
    Pod(
        name="hostUsers: false, Unmasked",
        settings="`Unconfined`, `procMount: Unmasked`",
        own_users=True,
        filtered=False,
        masked=False,
    ),
    Pod(
        name="+SYS_ADMIN",
        settings="`capabilities: {add: [SYS_ADMIN]}`, `RuntimeDefault`",
        capabilities=(*DEFAULT_CAPABILITIES, "SYS_ADMIN"),
    ),
    Pod(name="privileged", settings="`privileged: true`", capabilities=CAPABILITIES, filtered=False, masked=False),
)  # fmt: skip
