# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Evaluation: metrics and parsers of answers, and measures of what a codec stream keeps of its video. Modules are
imported by name, so that one who parses answers needs neither PyAV nor scipy.
"""
