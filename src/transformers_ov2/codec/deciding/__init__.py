# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Deciding: groups, budgets, signals, their fusion, and the blocks that become tokens."""
