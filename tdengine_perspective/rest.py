"""Owns asking TDengine over REST: within a time limit, and directly, whatever the environment says.

Libraries that go by the environment would send the question to the proxy that HTTP_PROXY or ALL_PROXY names,
and with the login out of ~/.netrc. The driver, `taosws`, does neither.
"""

import base64
import http.client
import json
import ssl
from http import HTTPStatus
from urllib.parse import quote

TIMEOUT = 3  # seconds
MAX_ANSWER = 4 << 20  # bytes


class RestError(Exception):
    """TDengine's answer is an error: its code in brackets and its text, as the driver's errors begin."""


class NotTDengine(Exception):
    """What answered is no TDengine."""


class WantsTLS(Exception):
    """What answered speaks TLS, or closed the connection, as some do that speak it."""


class NotAdmitted(Exception):
    """What answered does not take the login."""


def ask(
    host: str,
    port: int,
    user: str,
    password: str,
    sql: str,
    token: str = "",
    context: ssl.SSLContext | None = None,
) -> list[list]:
    """The rows that taosAdapter answers; what is not UTF-8 in them has replacement characters instead.

    A token stands in the place of user and password. With `context` it asks by TLS.
    Raises RestError, NotTDengine, WantsTLS, NotAdmitted, or, where nothing answers, OSError (TimeoutError
    after TIMEOUT), and UnicodeError for a name that can be none of a host.
    """
    if context:
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    path, headers = "/rest/sql", {}
    if token:
        path += f"?token={quote(token, safe='')}"
    else:
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {login}"
    try:
        connection.request("POST", path, sql.encode(), headers)
        response = connection.getresponse()
        text = response.read(MAX_ANSWER).decode(errors="replace")
        if not context and is_about_tls(response, text):
            raise WantsTLS
        if token and response.status == HTTPStatus.UNAUTHORIZED:
            raise NotAdmitted
        answer = json.loads(text)
        code = answer["code"]
        if code:
            raise RestError(f"[0x{code & 0xFFFF:04X}] {answer['desc']}")
        return answer["data"]
    except http.client.RemoteDisconnected:
        raise (NotTDengine if context else WantsTLS) from None
    except (OSError, UnicodeError):
        raise
    except http.client.BadStatusLine as error:
        is_alert = error.line.startswith("\x15\x03")  # of TLS
        raise (WantsTLS if is_alert else NotTDengine) from None
    except (http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise NotTDengine(str(error)) from None
    finally:
        connection.close()


def is_about_tls(response: http.client.HTTPResponse, text: str) -> bool:
    """Whether an answer says that it should have been asked by TLS, as servers do and proxies."""
    is_redirect = 300 <= response.status < 400
    return (is_redirect and response.getheader("Location", "").startswith("https://")) or (
        response.status == HTTPStatus.BAD_REQUEST and "HTTPS" in text
    )
