"""Run directories: the only reader and writer of what a run leaves."""

from diswot.runs.files import (
    Journal,
    JournalTailer,
    read_json,
    replacing,
    write_atomic,
    write_json,
)
from diswot.runs.listing import Run, find_runs, read_summary
from diswot.runs.records import (
    CandidateRecord,
    EpochRecord,
    KnownAccuracies,
    RankRow,
    RankSummary,
    ScoreRecord,
    SearchSummary,
    Standing,
    Summary,
    TopCandidate,
    TrainSummary,
    Validation,
)
from diswot.runs.run_dir import RunDir
from diswot.runs.tables import (
    read_candidates,
    read_epochs,
    read_rank_rows,
    read_similarity,
    read_table,
    write_table,
)

__all__ = ["CandidateRecord", "EpochRecord", "Journal", "JournalTailer", "KnownAccuracies"]
__all__ += ["RankRow", "RankSummary", "Run", "RunDir", "ScoreRecord", "SearchSummary", "Standing"]
__all__ += ["Summary", "TopCandidate", "TrainSummary", "Validation", "find_runs", "read_candidates"]
__all__ += ["read_epochs", "read_json", "read_rank_rows", "read_similarity", "read_summary"]
__all__ += ["read_table", "replacing", "write_atomic", "write_json", "write_table"]
