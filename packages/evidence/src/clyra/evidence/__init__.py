# SPDX-License-Identifier: Apache-2.0
"""Write and read signed, tamper-evident evidence bundles."""
