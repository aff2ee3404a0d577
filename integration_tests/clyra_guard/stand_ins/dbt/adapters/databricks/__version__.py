# SPDX-License-Identifier: Apache-2.0
"""The version dbt prints for this stand-in."""

version = "1.8.0"
