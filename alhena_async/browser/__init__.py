"""What a visitor's browser tells a shop's server, and the script that makes it tell.

The script keeps the pair of fingerprints that the chat widget knows in one first-party cookie; the
server reads it back. Apps and single-page shops send the same value in a header. What arrives is a
client's claim: good to attribute revenue by, never to identify anyone by.

The integrations do all of this by themselves; this is for a framework that has none::

    visitor = read_visitor(raw_headers)                  # None: nothing usable was claimed
    reply = script_reply("GET", if_none_match="")        # under SCRIPT_PATH
"""

from alhena_async.browser._claims import (
    COOKIE_NAME,
    HEADER_NAME,
    VisitorReader,
    decode_visitor,
    encode_visitor,
    read_visitor,
)
from alhena_async.browser._script import SCRIPT_PATH, ScriptReply, script_reply

__all__ = [
    "COOKIE_NAME",
    "HEADER_NAME",
    "SCRIPT_PATH",
    "ScriptReply",
    "VisitorReader",
    "decode_visitor",
    "encode_visitor",
    "read_visitor",
    "script_reply",
]
