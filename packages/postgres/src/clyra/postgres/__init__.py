# SPDX-License-Identifier: Apache-2.0
"""Postgres anchors and an embedded server for Clyra."""
