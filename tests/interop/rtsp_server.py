"""GStreamer's RTSP server: ``/usr/bin/python3 rtsp_server.py PORT PIPELINE [USER:PASSWORD]``.

It needs the system's Python, which alone has GObject's bindings. It shows the pipeline at /cam.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - its version is said before


def protect(server: GstRtspServer.RTSPServer, factory: object, login: str) -> None:
    """Show it to this user alone."""
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login.split(":")), token)
    server.set_auth(auth)
    allowed = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        allowed.add_permission_for_role("user", permission, True)
    factory.set_permissions(allowed)


def main(port: str, pipeline: str, login: str | None = None) -> None:
    """Serve until killed."""
    Gst.init(None)
    server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory.set_launch(pipeline)
    factory.set_shared(True)
    if login is not None:
        protect(server, factory, login)
    server.get_mount_points().add_factory("/cam", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} is taken")
    GLib.MainLoop().run()


main(*sys.argv[1:])
