"""ASGI applications for tests of connections."""

from starlette.types import Receive, Scope, Send

PAGE = b"0123456789abcdef" * (1_500_000 // 16)


async def short(scope: Scope, _receive: Receive, send: Send) -> None:
    """Respond with the method and the path."""
    await reply(send, f"{scope['method']} {scope['path']}".encode())


async def page(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Respond with PAGE, in parts."""
    await reply(send, PAGE)


async def reply(send: Send, body: bytes, part: int = 32768) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if part >= len(body):
        await send({"type": "http.response.body", "body": body})
        return
    for start in range(0, len(body), part):
        content = body[start : start + part]
        await send({"type": "http.response.body", "body": content, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
