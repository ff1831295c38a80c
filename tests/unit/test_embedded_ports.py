"""Ports that stay the same from start to start."""

import socket
from pathlib import Path

from services.embedded.ports import remembered_ports


def test_each_name_has_a_port_of_its_own(tmp_path: Path) -> None:
    ports = remembered_ports(tmp_path / "ports.json", ["a", "b", "c"])
    assert len(set(ports.values())) == 3


def test_free_ports_are_used_again(tmp_path: Path) -> None:
    ports = remembered_ports(tmp_path / "ports.json", ["a", "b"])
    assert remembered_ports(tmp_path / "ports.json", ["a", "b"]) == ports


def test_a_taken_port_is_replaced_and_the_other_one_kept(tmp_path: Path) -> None:
    before = remembered_ports(tmp_path / "ports.json", ["a", "b"])
    with socket.create_server(("127.0.0.1", before["a"])):
        after = remembered_ports(tmp_path / "ports.json", ["a", "b"])
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"a": 20')
    ports = remembered_ports(tmp_path / "ports.json", ["a"])
    assert remembered_ports(tmp_path / "ports.json", ["a"]) == ports
