"""Capitalised words that a note may keep: they name no person, place or institution."""

from __future__ import annotations

WORDS = """
    a an the and or of in on at to for with without from by as is are was were be been has have had no not none than then this that these those
    he she they we it i his her their our my after before since during when while if but so also there here what who how why where today
    yesterday tomorrow now once all any some each other another more less most least very too started stopped given taken seen felt feels
    states stated known possible likely suspected ruled out due because although however currently previously recently still again never
    always often sometimes left right upper lower bilateral

    patient pt subject history complaint complains reports reported denies presents presented admitted discharged examination assessment plan
    impression findings diagnosis symptoms signs medication medications allergies allergy treatment therapy follow up review lab labs result
    results note notes report date time age sex male female man woman unknown normal abnormal acute chronic mild moderate severe positive
    negative stable worse better improved clinical physical mental social family past present surgery surgical emergency outpatient inpatient
    ward clinic hospital pain fever cough headache nausea vomiting fatigue weakness dizziness dyspnea tremor seizure stroke blood pressure
    heart rate pulse temperature respiratory oxygen saturation weight height glucose sodium potassium creatinine hemoglobin hypertension
    diabetes asthma depression anxiety pneumonia sepsis infection cancer tumor fracture

    mri ct ecg ekg eeg emg csf copd chf ckd cad icu ed bp hr rr spo bmi gcs iv po prn bid tid qid mg ml kg cm mmhg mmol

    der die das und oder mit ohne im am zum zur bei seit kein keine nicht er sie es wir ist war sind hat hatte wird wurde nach vor über unter
    links rechts heute gestern aktuell bekannt unauffällig patientin anamnese befund diagnose verlauf therapie medikation schmerz schmerzen
    fieber husten übelkeit schwindel schwäche blutdruck puls temperatur gewicht labor
"""
ALLOWED = frozenset(WORDS.split())
