"""Labelling: report text to a proposed label, readers' review of images, their agreement, adjudication.

`reports.label_table` proposes labels by rules whose phrases are data (`assets/lexicon_en.yaml`,
`lexicon_ko.yaml`). `review` is the panel in which readers read blinded; `readings` is their log; `agreement` says
how far they and the rules agree; `adjudication` settles what differs and guards what enters a cohort.
"""
