import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from ptqbench.config_files import check_files, check_place
from ptqbench.errors import told

# before Snakemake loads them, which tells neither a line nor of what it drops
if workflow.is_main_process:
    try:
        check_place(Path(workflow.basedir))
        check_files(Path("config.yaml"), workflow.overwrite_configfiles)
    except Exception as error:
        sys.exit(f"error: {told(error)}")
