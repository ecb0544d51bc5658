"""Summary of the fuzzing: cases, accepted and rejected, per reader."""


def pytest_terminal_summary(terminalreporter):
    rows = [dict(report.user_properties) for report in terminalreporter.getreports("passed")]
    rows = [row for row in rows if "reader" in row]
    if rows:
        terminalreporter.section("fuzzing")
        terminalreporter.write_line("| reader | cases | accepted | rejected |\n|---|---:|---:|---:|")
        for row in rows:
            cells = (row["reader"], row["accepted"] + row["rejected"], row["accepted"], row["rejected"])
            terminalreporter.write_line(f"| {' | '.join(map(str, cells))} |")
