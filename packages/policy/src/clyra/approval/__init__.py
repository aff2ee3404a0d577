# SPDX-License-Identifier: Apache-2.0
"""Approvals: people sign certificates, machines mint and check tokens."""
