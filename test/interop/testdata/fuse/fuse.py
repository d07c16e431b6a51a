"""Debian has the module that qom-fuse calls fuse under the name fusepy."""
from fusepy import *  # noqa: F401, F403
