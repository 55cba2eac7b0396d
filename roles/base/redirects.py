"""Redirects of what the controller asks over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any


class SameSafety(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from https to http: the answer is believed."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        """The request to follow it by."""
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it redirects from https to {newurl[:100]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
