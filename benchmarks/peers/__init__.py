"""Other toolkits' posterior samplers on our priors and operators."""

from benchmarks.peers.azula_samplers import AZULA
from benchmarks.peers.base import Draws, Peer, installed
from benchmarks.peers.deepinv_samplers import DEEPINV

PEERS: dict[str, Peer] = {peer.name: peer for peer in (*DEEPINV, *AZULA)}

__all__ = ["PEERS", "Draws", "Peer", "installed"]
