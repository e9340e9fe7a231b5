"""Run directories: the only reader and writer of what a run leaves."""

from diswot.runs.files import Journal, read_json, replacing, write_atomic, write_json
from diswot.runs.latencies import LatencyRecord, LatencySummary
from diswot.runs.listing import Run, find_runs, read_summary
from diswot.runs.races import Contestant, Estimate, RaceRecord, RaceSummary
from diswot.runs.rankings import RankRow, RankSummary
from diswot.runs.records import (
    CandidateRecord,
    EpochRecord,
    KnownAccuracies,
    ProbeRecord,
    ProbeSummary,
    ScoreRecord,
    SearchSummary,
    Standing,
    Summary,
    TopCandidate,
    TrainSummary,
    Validation,
)
from diswot.runs.run_dir import RunDir
from diswot.runs.syntheses import SynthesisRecord, SynthesisSummary
from diswot.runs.tables import (
    read_candidates,
    read_epochs,
    read_rank_rows,
    read_similarity,
    read_table,
    write_table,
)
from diswot.runs.teachers import TeacherAccuracy

__all__ = ["CandidateRecord", "Contestant", "EpochRecord", "Estimate", "Journal"]
__all__ += [
    "KnownAccuracies",
    "LatencyRecord",
    "LatencySummary",
    "ProbeRecord",
    "ProbeSummary",
    "RaceRecord",
    "RaceSummary",
    "RankRow",
    "RankSummary",
    "Run",
]
__all__ += ["RunDir", "ScoreRecord", "SearchSummary", "Standing", "Summary"]
__all__ += ["SynthesisRecord", "SynthesisSummary"]
__all__ += ["TeacherAccuracy", "TopCandidate", "TrainSummary"]
__all__ += ["Validation", "find_runs", "read_candidates", "read_epochs"]
__all__ += ["read_json", "read_rank_rows", "read_similarity", "read_summary", "read_table"]
__all__ += ["replacing", "write_atomic", "write_json", "write_table"]
