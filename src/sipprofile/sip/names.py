"""Header names with their compact forms, and the reason phrases (RFC 3261 §7.3.3 and §21)."""

from __future__ import annotations

from sipprofile.sip.syntax import is_token

COMPACT_FORMS = {
    "a": "accept-contact",  # RFC 3841
    "b": "referred-by",  # RFC 3892
    "c": "content-type",
    "d": "request-disposition",  # RFC 3841
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",  # RFC 3841
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",  # RFC 4474
    "o": "event",  # RFC 6665
    "r": "refer-to",  # RFC 3515
    "s": "subject",
    "t": "to",
    "u": "allow-events",  # RFC 6665
    "v": "via",
    "x": "session-expires",  # RFC 4028
    "y": "identity",  # RFC 8224
}

_USUAL_SPELLINGS = """
    Accept Accept-Contact Accept-Encoding Accept-Language Allow Allow-Events Authentication-Info
    Authorization Call-ID Call-Id CSeq Cseq Contact Content-Disposition Content-Encoding
    Content-Length Content-Type Date Event Expires Feature-Caps Flow-Timer From Max-Forwards
    Min-Expires Organization P-Access-Network-Info P-Asserted-Identity P-Associated-URI
    P-Called-Party-ID P-Charging-Vector P-Preferred-Identity Path Privacy Proxy-Authenticate
    Proxy-Authentication-Info Proxy-Authorization Proxy-Require RAck RSeq Reason Record-Route
    Refer-To Referred-By Require Retry-After Route Security-Client Security-Server Security-Verify
    Server Service-Route Session-Expires Subject Subscription-State Supported Timestamp To
    Unsupported User-Agent Via WWW-Authenticate Www-Authenticate Warning
"""


class CanonicalNames(dict[bytes, str]):
    """From a header name as received to its long form in lower case.

    The usual spellings are entries, found with one look-up; any other is worked out and not kept. Raises
    KeyError for what is no header name.
    """

    def __missing__(self, spelling: bytes) -> str:
        name = spelling.rstrip(b" \t").decode("latin-1")
        if not is_token(name):
            raise KeyError(spelling)
        name = name.lower()
        return COMPACT_FORMS.get(name, name)


CANONICAL_NAMES = CanonicalNames(
    {
        spelling.encode(): name.lower()
        for name in _USUAL_SPELLINGS.split()
        for spelling in (name, name.lower(), name.upper())
    }
)
for _compact, _name in COMPACT_FORMS.items():
    CANONICAL_NAMES[_compact.encode()] = CANONICAL_NAMES[_compact.upper().encode()] = _name

REASONS: dict[int, str] = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    424: "Bad Location Information",
    425: "Bad Alert Message",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    555: "Push Notification Service Not Supported",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
