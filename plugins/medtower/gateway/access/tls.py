"""TLS 1.2 and later, with the certificate that is set."""

from __future__ import annotations

import ssl

from medtower.errors import Refused
from medtower.settings import Settings


def context(settings: Settings) -> ssl.SSLContext | None:
    """None when no certificate is set. Raises Refused, in one line, when half of it is set or it cannot be used: the gateway never falls back to
    plain HTTP."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise Refused("tls", "MEDTOWER_TLS_CERTIFICATE and MEDTOWER_TLS_KEY go together; set both or neither")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        for path in (certificate, key):
            path.open("rb").close()
        made.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        why = error.reason or "not PEM"
        raise Refused("tls", f"{certificate} and {key} are no certificate and its key ({why})") from None
    except OSError as error:
        raise Refused("tls", f"{error.filename} cannot be read ({error.strerror})") from None
    return made


def _no_password() -> str:
    """Else OpenSSL asks for one on the terminal, and the gateway waits for ever."""
    return ""
