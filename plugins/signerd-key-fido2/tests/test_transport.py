import os
import socket
import threading
import time

import pytest
from fido2.ctap import CtapError
from fido2.hid import CtapHidDevice
from fido2.hid.base import HidDescriptor

from signerd.errors import SignerdError
from signerd_key_fido2 import transport
from signerd_key_fido2.transport import REPORT, Reports, authenticator, places


def refused(place, code, reason):
    with pytest.raises(SignerdError) as caught, authenticator(place, time.monotonic() + 5):
        pytest.fail("an authenticator was opened")
    assert (caught.value.code, caught.value.reason) == (code, reason)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        yield ours.detach(), theirs


def test_a_socket_carries_reports(authenticator):
    with transport.authenticator(authenticator.place, time.monotonic() + 5) as ctap:
        assert "FIDO_2_1" in ctap.info.versions
        assert ctap.device.ping(b"x" * 300) == b"x" * 300


def test_any_authenticator_is_what_the_kernel_shows():
    assert places("unix:/run/fido2") == ["unix:/run/fido2"]
    assert all(place.startswith("/dev/hidraw") for place in places("any"))


def test_what_is_not_there_is_absent(tmp_path):
    refused("unix:/absent", "key.backend_unavailable", "device_absent")
    refused("/dev/absent", "key.backend_unavailable", "device_absent")


def test_nobody_listens(authenticator, tmp_path):
    path = authenticator.place.removeprefix("unix:")
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as unheard:
        unheard.bind(path)
        os.chmod(path, 0o600)
        refused(authenticator.place, "key.backend_unavailable", "device_absent")


def test_what_is_no_authenticator_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    refused(f"unix:{tmp_path}/file", "key.backend_fault", "device_kind")
    refused(str(tmp_path / "file"), "key.backend_fault", "device_kind")
    # A character device, and none of hidraw: it knows no such ioctl(2).
    refused("/dev/null", "key.backend_unavailable", "device_absent")


def test_a_socket_that_others_reach_is_refused(authenticator):
    path = authenticator.place.removeprefix("unix:")
    os.chmod(path, 0o660)
    refused(authenticator.place, "key.backend_fault", "device_mode")
    link = f"{path}-link"
    os.symlink(path, link)
    refused(f"unix:{link}", "key.backend_fault", "device_kind")
    os.unlink(link)


def test_a_strangers_socket_is_refused(authenticator, monkeypatch):
    monkeypatch.setattr(transport.os, "geteuid", lambda: 12345)
    if os.stat(authenticator.place.removeprefix("unix:")).st_uid:
        refused(authenticator.place, "key.backend_fault", "device_owner")


def test_a_silent_authenticator_is_lost(authenticator, monkeypatch):
    monkeypatch.setattr(transport, "SILENCE_S", 0.2)
    authenticator.flaws.add("mute")
    refused(authenticator.place, "key.backend_unavailable", "device_lost")


def test_reports_are_read_whole_and_in_time(pair):
    fd, theirs = pair
    reports = Reports(fd, b"\0", REPORT, time.monotonic() + 60)
    theirs.send(b"r" * REPORT)
    assert reports.read_packet() == b"r" * REPORT
    reports.write_packet(b"w" * REPORT)
    assert theirs.recv(128) == b"\0" + b"w" * REPORT
    theirs.send(b"short")
    with pytest.raises(OSError, match="gone"):
        reports.read_packet()
    theirs.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="gone"):
        reports.read_packet()
    reports.close()


def test_nothing_is_read_past_the_end(pair):
    fd, _ = pair
    reports = Reports(fd, b"", REPORT, time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        reports.read_packet()
    with pytest.raises(TimeoutError):
        reports.write_packet(b"late")
    reports.close()


@pytest.mark.parametrize("answer", [b"\0" * REPORT, b"\xff" * REPORT, os.urandom(REPORT)], ids=["zero", "ones", "any"])
def test_whatever_is_answered_to_the_first_report_is_no_crash(pair, answer):
    fd, theirs = pair
    reports = Reports(fd, b"", REPORT, time.monotonic() + 0.5)
    thread = threading.Thread(target=lambda: (theirs.recv(128), theirs.send(answer)))
    thread.start()
    with pytest.raises((OSError, *transport.PROTOCOL, CtapError)):
        CtapHidDevice(HidDescriptor("", 0, 0, REPORT, REPORT, None, None), reports)
    thread.join()
    reports.close()
