"""Owns asking TDengine over REST: within a time limit, and directly, whatever the environment says.

Libraries that go by the environment would send the question to the proxy that HTTP_PROXY or ALL_PROXY names,
and with the login out of ~/.netrc. The driver, `taosws`, does neither.
"""

import base64
import http.client
import json

TIMEOUT = 3  # seconds
MAX_ANSWER = 4 << 20  # bytes


class RestError(Exception):
    """TDengine's answer is an error: its code in brackets and its text, as the driver's errors begin."""


class NotTDengine(Exception):
    """What answered is no TDengine."""


def ask(host: str, port: int, user: str, password: str, sql: str) -> list[list]:
    """The rows that taosAdapter answers; what is not UTF-8 in them has replacement characters instead.

    Raises RestError, NotTDengine, or, where nothing answers, OSError (TimeoutError after TIMEOUT), and
    UnicodeError for a name that can be none of a host.
    """
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("POST", "/rest/sql", sql.encode(), {"Authorization": f"Basic {login}"})
        answer = json.loads(connection.getresponse().read(MAX_ANSWER).decode(errors="replace"))
        code = answer["code"]
        if code:
            raise RestError(f"[0x{code & 0xFFFF:04X}] {answer['desc']}")
        return answer["data"]
    except (OSError, UnicodeError):
        raise
    except (http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise NotTDengine(str(error)) from None
    finally:
        connection.close()
