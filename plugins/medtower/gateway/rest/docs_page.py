"""The documentation page, with a policy that runs its own script and no other."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, Response

from medtower.gateway.access.headers import page_policy

PATH, ASSETS = "/docs", "/docs/assets"


def install(app: FastAPI) -> None:
    """Serve the page at /docs; its script and style come from the assets that `fastapi_offline` mounts: a hospital has no CDN."""
    page = bytes(
        get_swagger_ui_html(
            openapi_url=str(app.openapi_url),
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        ).body
    )
    policy = {"Content-Security-Policy": page_policy(page)}

    async def docs() -> Response:
        return HTMLResponse(page, headers=policy)

    app.get(PATH, include_in_schema=False)(docs)
