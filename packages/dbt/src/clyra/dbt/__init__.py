# SPDX-License-Identifier: Apache-2.0
"""A plain dbt build leaves a signed evidence bundle."""
