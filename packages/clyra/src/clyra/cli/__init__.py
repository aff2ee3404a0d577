# SPDX-License-Identifier: Apache-2.0
"""Proof that data changes were safe: the clyra command."""
