"""Every mutation, by what it breaks. Each stands for a mistake that somebody could really make."""

from tests.mutations.consuming import CONSUMING
from tests.mutations.deciding import DECIDING
from tests.mutations.merging import MERGING

MUTATIONS = (*CONSUMING, *MERGING, *DECIDING)
