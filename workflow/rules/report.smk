TABLES = [
    f"reports/{name}.{suffix}"
    for name in ("results", "cells", "layers", "items", "scores", "pairs", "origins")
    for suffix in ("parquet", "csv")
]
SIZES = [f"reports/size_against_quality.{suffix}" for suffix in ("svg", "png")]
MODELS = [f"reports/across_models.{suffix}" for suffix in ("svg", "png")]
PAGES = ["reports/index.html", "reports/summary.md"]
DIAGNOSIS_PAGES = [f"reports/{page}" for page in diagnosis_pages(PLAN.diagnosed)]
REPORT = [*DIAGNOSIS_PAGES, *PAGES, *TABLES, *SIZES, *MODELS]


# the types of the hub's models, by which the choice table decides, are known when they are here
PREPARED = [
    f"{RESULTS}/models/{model}/manifest.json"
    for model in dict.fromkeys(cell.model for cell in PLAN.cells)
]


# the plan as a file: with many cells it is too long for a command line
rule plan:
    input:
        PREPARED,
    output:
        f"{RESULTS}/plan.json",
    log:
        f"{LOGS}/plan.log",
    params:
        digest=plan_digest,
    run:
        write(Path(output[0]), planned(), Planned)


# the tables (a contract), the figures and the page
rule report:
    input:
        EVALUATIONS,
        DIAGNOSES,
        plan=rules.plan.output,
    output:
        page=report(PAGES[0], caption="../report/page.rst", category="Report"),
        summary=PAGES[1],
        tables=TABLES,
        diagnoses=DIAGNOSIS_PAGES,
        sizes=report(
            SIZES, caption="../report/size_against_quality.rst", category="Figures"
        ),
        models=report(MODELS, caption="../report/across_models.rst", category="Figures"),
    log:
        f"{LOGS}/report.log",
    conda:
        "../../envs/ptqbench.yaml"
    params:
        code=code("report"),
    shell:
        "python -m ptqbench.stages.report --spec '{{}}' --plan {input.plan} --results results --out {output.page} > {log} 2>&1"


# served checkpoints beside their dequantized twins; asked for by name, with workflow/presets/serving.yaml
rule agreement:
    input:
        EVALUATIONS,
        plan=rules.plan.output,
    output:
        page="reports/agreement.md",
        table="reports/agreement.parquet",
    log:
        f"{LOGS}/agreement.log",
    conda:
        "../../envs/ptqbench.yaml"
    params:
        code=code("agreement"),
    shell:
        "python -m ptqbench.stages.agreement --spec '{{}}' --plan {input.plan} --results results --out {output.page} > {log} 2>&1"
