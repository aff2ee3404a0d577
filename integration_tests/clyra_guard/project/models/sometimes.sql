-- SPDX-License-Identifier: Apache-2.0
-- Fails on request, so that there is something for `dbt retry` to do.
select {{ 'no_such_column' if env_var('GUARDED_FAILS', '') else '1' }} as n
