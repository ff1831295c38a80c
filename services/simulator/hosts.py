"""Who the hosts are: addresses, machines, models and how reliable each one is. Nothing here changes with time."""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256

from services.simulator.addresses import bech32
from services.simulator.chance import between, draw, log_uniform, octets, pick, whole

MODELS = (
    "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
    "Qwen/Qwen3-32B-FP8",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen3-4B-Instruct-2507",
)

GPUS = (
    "NVIDIA H100 80GB HBM3 | 79GB",
    "NVIDIA H200 | 140GB",
    "NVIDIA A100-SXM4-80GB | 80GB",
    "NVIDIA GeForce RTX 4090 | 24GB",
    "NVIDIA GeForce RTX 3090 | 24GB",
    "NVIDIA B200 | 179GB",
)

REGIONS = (("US", "Virginia"), ("DE", "Hesse"), ("FI", "Uusimaa"), ("SG", "Singapore"), ("CA", "Quebec"))


@dataclass(frozen=True)
class MlNode:
    """One machine of a host; its name is only unique within the host ("node1" is everywhere)."""

    name: str
    status: str
    model: str
    hardware: tuple[tuple[str, int], ...]
    ip: str
    power: int


@dataclass(frozen=True)
class Host:
    """A wallet of the network.

    `joins` is the first epoch in which it is listed. `may_work` is false for those that are listed but never in an
    epoch's active set. `validates` is false for those without a validator: trackers answer null for their jail flag.
    `answers_strings` marks rows in the shape of chain version 0.2.15, whose numbers are strings.
    """

    index: int
    account: bytes
    address: str
    operator_address: str
    validator_key: str
    consensus_address: str
    url: str
    moniker: str | None
    region: tuple[str, str]
    ml_nodes: tuple[MlNode, ...]
    joins: int
    may_work: bool
    validates: bool
    answers_strings: bool
    presence: float
    stretch_epochs: int
    unhealthy_share: float
    health_period_seconds: int

    @property
    def models(self) -> tuple[str, ...]:
        """The models its machines serve, each once."""
        return tuple(dict.fromkeys(node.model for node in self.ml_nodes))


def make_hosts(seed: int, count: int, first_epoch: int, last_past_epoch: int) -> tuple[Host, ...]:
    """`count` hosts in the order of their account bytes, the order in which the chain lists them."""
    idle = count * 7 // 200
    accounts = sorted(octets(20, seed, "account", number) for number in range(count))
    ranks = sorted(range(count), key=lambda index: draw(seed, "rank", index))
    only_listed = set(ranks[:idle])
    past = (first_epoch, last_past_epoch)
    return tuple(
        _make_host(seed, index, account, past, may_work=index not in only_listed)
        for index, account in enumerate(accounts)
    )


def former_addresses(seed: int, count: int) -> tuple[str, ...]:
    """Addresses of hosts that left long ago: only the chain's historical hardware list still has them."""
    return tuple(bech32("gonka", octets(20, seed, "former", number)) for number in range(count))


def _make_host(seed: int, index: int, account: bytes, past: tuple[int, int], *, may_work: bool) -> Host:
    first_epoch, last_past_epoch = past
    key = (seed, "host", index)
    public_key = octets(32, *key, "validator")
    # 198.18.0.0/15 is reserved for tests (RFC 2544): no simulated host has the address of a real one.
    ip = f"198.{whole(18, 19, *key, 'net')}.{whole(0, 255, *key, 'subnet')}.{whole(1, 254, *key, 'ip')}"
    chance = draw(*key, "joins")
    if chance < 0.02:
        joins = last_past_epoch + whole(3, 30, *key, "joins live")
    elif chance < 0.30:
        joins = whole(first_epoch, last_past_epoch, *key, "joins past")
    else:
        joins = first_epoch - whole(0, 200, *key, "joins before")
    machines = min(40, int(log_uniform(1, 14, *key, "machines"))) if may_work else 0
    reliable = draw(*key, "reliable")
    return Host(
        index=index,
        account=account,
        address=bech32("gonka", account),
        operator_address=bech32("gonkavaloper", account),
        validator_key=b64encode(public_key).decode() if may_work else "",
        consensus_address=sha256(public_key).hexdigest()[:40].upper(),
        url=f"http://{ip}:{pick((8000, 8000, 20243, 64935), *key, 'port')}" if may_work else "",
        moniker=f"host-{index}" if draw(*key, "moniker") < 0.2 else None,
        region=pick(REGIONS, *key, "region"),
        ml_nodes=_ml_nodes(key, machines, ip),
        joins=joins,
        may_work=may_work,
        validates=may_work and draw(*key, "validates") < 0.9,
        answers_strings=draw(*key, "strings") < 0.15,
        presence=1.0 if reliable < 0.4 else between(0.6, 0.97, *key, "presence"),
        stretch_epochs=whole(2, 9, *key, "stretch"),
        unhealthy_share=_unhealthy_share(reliable),
        health_period_seconds=whole(120, 900, *key, "health"),
    )


def _unhealthy_share(reliable: float) -> float:
    """Most hosts are hardly ever unhealthy, a few nearly always."""
    if reliable < 0.5:
        return 0.004
    return 0.06 if reliable < 0.95 else 0.7


def _ml_nodes(key: tuple[object, ...], count: int, ip: str) -> tuple[MlNode, ...]:
    main_gpu = pick(GPUS, *key, "gpu")
    main_model = pick(MODELS, *key, "model")
    kind = draw(*key, "hardware")
    nodes = []
    for number in range(1, count + 1):
        gpu = pick(GPUS, *key, "gpu", number) if kind > 0.75 else main_gpu
        hardware: tuple[tuple[str, int], ...] = ((gpu, pick((1, 1, 4, 8), *key, "gpus", number)),)
        if kind < 0.12:
            hardware = ()  # some hosts report no hardware at all
        elif kind > 0.9:
            hardware = (*hardware, (pick([other for other in GPUS if other != gpu], *key, "second", number), 1))
        nodes.append(
            MlNode(
                name=f"node{number}",
                status=pick(("INFERENCE",) * 12 + ("POC", "FAILED", "STOPPED"), *key, "status", number),
                model=pick(MODELS, *key, "model", number) if draw(*key, "mixed") < 0.2 else main_model,
                hardware=hardware,
                ip="inference" if number == 1 else f"{ip.rsplit('.', 1)[0]}.{number}",
                power=int(log_uniform(400, 4500, *key, "power", number)),
            )
        )
    return tuple(nodes)
