# The chain: model -> calibration tokens -> statistics -> quantize -> export -> evaluate -> report.
# What to run is in config.yaml; what each rule does is in src/ptqbench/stages.
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/inputs.smk"


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/quantize.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/diagnose.smk"
include: "workflow/rules/report.smk"


# a cluster's nodes have another memory than this machine
onstart:
    check_memory()


onsuccess:
    note_jobs()
    drop()


onerror:
    note_jobs()


localrules:
    all,
    evaluations,
    prepare,
    plan,


rule all:
    default_target: True
    input:
        EVALUATIONS,
        DIAGNOSES,
        REPORT,
        WITHDRAWN,


# everything but the report: for hosts that only compute
rule evaluations:
    input:
        EVALUATIONS,
        DIAGNOSES,
        WITHDRAWN,
