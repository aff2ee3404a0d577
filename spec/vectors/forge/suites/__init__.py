# SPDX-License-Identifier: Apache-2.0
"""The vectors, one module per suite; each has ``cases()``."""
