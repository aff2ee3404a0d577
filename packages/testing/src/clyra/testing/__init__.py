# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures for Clyra's own tests; not published."""
