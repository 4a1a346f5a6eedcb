"""Sabotage of a run from outside: every Python of the run loads this file at its start.

It needs no hook in the product. Calls that make something durable or tell somebody (open to write,
fsync, rename, mkdir, unlink, rmdir below the store; requests to the API) are counted and
named, in the command itself and in its worker processes alike:

    parent rename runs/ID.json before#1
    worker fsync artifacts/steady/fitted/KEY/.net.tmp after#3

The variable SABOTAGE holds JSON: ``root`` (the store), ``log`` (a file to which all points reached
are added), ``at`` (the point at which to act), ``flag`` (a file that is made then; with it nobody
acts any more) and ``do``: ``kill`` everything that belongs to the run, ``kill-one`` the process
itself, ``full`` or ``readonly``: while the flag exists nothing below the store can be written.
"""

import errno
import io
import json
import os
import re
import signal
import socket
from collections import Counter

PLAN = json.loads(os.environ["SABOTAGE"]) if "SABOTAGE" in os.environ else {}
ROOT = PLAN.get("root", "")
REFUSALS = {"full": errno.ENOSPC, "readonly": errno.EROFS}

reached: Counter[str] = Counter()
os.register_at_fork(after_in_child=reached.clear)


def place_of(path):
    """The path below the store without what differs from run to run; None for other places."""
    if isinstance(path, int):
        try:
            path = os.readlink(f"/proc/self/fd/{path}")
        except OSError:
            return None
    path = os.fspath(path)
    if not isinstance(path, str) or not path.startswith(ROOT):
        return None
    place = path[len(ROOT) :].strip("/") or "."
    place = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "ID", place)
    place = re.sub(r"-[0-9a-f]{16,64}(?=\.)", "", place)
    place = re.sub(r"(run|probe)-[0-9a-f-]+", r"\1", place)
    return re.sub(r"(?<=/)[0-9a-f]{16,128}(?=[/.]|$)", "KEY", place)


def arrive(name):
    """Count an arrival at a point, and act if it is the one."""
    reached[name] += 1
    role = "parent" if os.getpid() == os.getsid(0) else "worker"
    point = f"{role} {name}#{reached[name]}"
    if PLAN.get("log"):
        descriptor = os.open(PLAN["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{point}\n".encode())
        os.close(descriptor)
    if point != PLAN.get("at"):
        return
    try:
        os.close(os.open(PLAN["flag"], os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    if PLAN["do"] == "kill":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    elif PLAN["do"] == "kill-one":
        os.kill(os.getpid(), signal.SIGKILL)


def refuse(path):
    if PLAN.get("do") in REFUSALS and os.path.exists(PLAN["flag"]):
        code = REFUSALS[PLAN["do"]]
        raise OSError(code, os.strerror(code), str(path))


def disturbed(name, function, writes=lambda *_args, **_kwargs: True):
    def call(path, *args, **kwargs):
        place = place_of(path) if writes(*args, **kwargs) else None
        if place is None:
            return function(path, *args, **kwargs)
        if name == "rename" and args:
            place = place_of(args[0]) or place
        arrive(f"{name} {place} before")
        if name not in ("unlink", "rmdir"):
            refuse(path)
        result = function(path, *args, **kwargs)
        arrive(f"{name} {place} after")
        return result

    return call


def told(function):
    """What is sent to the API, by method and path."""

    def send(self, data, *args):
        line = re.match(rb"(POST|PATCH|PUT|DELETE) (\S+) HTTP", bytes(data[:200]))
        if line is None:
            return function(self, data, *args)
        path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", line[2].decode())
        name = f"send {line[1].decode()} {path}"
        arrive(f"{name} before")
        result = function(self, data, *args)
        arrive(f"{name} after")
        return result

    return send


if PLAN:
    os.replace = disturbed("rename", os.replace)
    os.fsync = disturbed("fsync", os.fsync)
    os.mkdir = disturbed("mkdir", os.mkdir)
    os.unlink = disturbed("unlink", os.unlink)
    os.rmdir = disturbed("rmdir", os.rmdir)
    io.open = disturbed(
        "open", io.open, lambda mode="r", *_args, **_kwargs: set(mode) & set("wxa+")
    )
    for method in ("send", "sendall"):
        setattr(socket.socket, method, told(getattr(socket.socket, method)))
