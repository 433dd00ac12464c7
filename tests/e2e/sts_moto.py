"""moto as a process of its own, which lets a role be taken on with a token without a signature.

With authentication switched on moto would ask for one there too, which AWS does not. All else is
moto's own. The arguments are those of `moto.server`.
"""

from __future__ import annotations

import sys
from typing import Any

from moto.core.authorization import ActionAuthenticatorMixin
from moto.server import main

UNSIGNED = "AssumeRoleWithWebIdentity"


def install() -> None:
    """Puts the exception in place."""
    checked = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def check(self: Any, request: type, resource: str = "*") -> None:
        signed = "Authorization" in self.headers
        if signed or self.querystring.get("Action") != [UNSIGNED]:
            checked(self, request, resource)

    ActionAuthenticatorMixin._authenticate_and_authorize_action = check


if __name__ == "__main__":
    install()
    main(sys.argv[1:])
