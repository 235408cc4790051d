"""JSON shapes of the OpenAI wire: list pages, models, completions, and errors as the real client reads them.

Rule kept: `has_more` is always present (without it the client pages for ever), and a permanent 409 always says
`x-should-retry: false` (without it the client tries again).
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from validator.errors import TouchstoneError

JSON = dict[str, Any]
MAX_PAGE = 100


class Refusal(TouchstoneError):
    """A request that is not served; becomes the HTTP status and an OpenAI error body."""

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    def as_response(self) -> web.Response:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        headers = {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status == 409:
            headers["x-should-retry"] = "false"
        return web.json_response({"error": error}, status=self.status, headers=headers)


def bad_request(message: str, param: str | None = None) -> Refusal:
    return Refusal(400, message, "invalid_request", param)


def not_found(kind: str, name: str) -> Refusal:
    return Refusal(404, f"there is no {kind} {name!r} here", f"{kind}_not_found")


def conflict(message: str) -> Refusal:
    return Refusal(409, message, "conflict")


def new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(12)}"


def now_s() -> int:
    return int(time.time())


def make_page(items: Sequence[JSON], query: Mapping[str, str], default_limit: int = 20) -> JSON:
    """One cursor page over `items`, which stand in the order of the list; `after` is the last id of the page before."""
    try:
        limit = int(query.get("limit", default_limit))
    except ValueError as error:
        raise bad_request("limit is not a number", "limit") from error
    if not 1 <= limit <= MAX_PAGE:
        raise bad_request(f"limit must be 1 to {MAX_PAGE}", "limit")
    start = 0
    if "after" in query:
        places = [i for i, item in enumerate(items) if item["id"] == query["after"]]
        if not places:
            raise bad_request("after names nothing in this list", "after")
        start = places[0] + 1
    data = list(items[start : start + limit])
    return {"object": "list", "data": data, "has_more": start + limit < len(items)}


def make_model_json(model_id: str, created_at: int) -> JSON:
    return {"id": model_id, "object": "model", "created": created_at, "owned_by": "touchstone"}


def make_deleted_json(deleted_id: str, kind: str) -> JSON:
    return {"id": deleted_id, "object": kind, "deleted": True}


def make_completion(model_id: str, answer: JSON, *, is_chat: bool) -> JSON:
    """The answer to a probe, as chat or plain completion; the reply's text is never stripped."""
    if is_chat:
        choice: JSON = {"index": 0, "message": {"role": "assistant", "content": answer["text"], "refusal": None}}
    else:
        choice = {"index": 0, "text": answer["text"]}
    return {
        "id": new_id("chatcmpl" if is_chat else "cmpl"),
        "object": "chat.completion" if is_chat else "text_completion",
        "created": now_s(),
        "model": model_id,
        "choices": [choice | {"logprobs": None, "finish_reason": answer["finish_reason"]}],
        "usage": {
            "prompt_tokens": answer["prompt_tokens"],
            "completion_tokens": answer["completion_tokens"],
            "total_tokens": answer["prompt_tokens"] + answer["completion_tokens"],
        },
    }
