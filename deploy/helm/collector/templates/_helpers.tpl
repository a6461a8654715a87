{{- define "collector.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "collector.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "collector.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "collector.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "collector.selectorLabels" -}}
app.kubernetes.io/name: {{ include "collector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "collector.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "collector.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "collector.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "collector.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "collector.privileged" -}}
{{- and .Values.podSecurityContext.create .Values.podSecurityContext.privileged | ternary "true" "" -}}
{{- end -}}

{{/* Endpoints of a monitor: all containers, and the collector itself. */}}
{{- define "collector.endpoints" -}}
- port: http
  path: /metrics/cadvisor
  interval: {{ .Values.metrics.interval }}
  scrapeTimeout: {{ .Values.metrics.scrapeTimeout }}
  honorLabels: true
  relabelings:
    # What belongs to no pod, such as the node as a whole, would count as the collector's own use.
    - action: labeldrop
      regex: namespace|pod|container|service
    - sourceLabels:
        - __meta_kubernetes_pod_node_name
      targetLabel: node
    - sourceLabels:
        - __metrics_path__
      targetLabel: metrics_path
    - targetLabel: job
      replacement: {{ .Values.metrics.job }}
    {{- with .Values.metrics.relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.metrics.metricsRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
- port: http
  path: /metrics
  interval: {{ .Values.metrics.interval }}
  scrapeTimeout: {{ .Values.metrics.scrapeTimeout }}
  relabelings:
    - sourceLabels:
        - __meta_kubernetes_pod_node_name
      targetLabel: node
    - targetLabel: job
      replacement: collector
  metricRelabelings:
    - sourceLabels:
        - __name__
      regex: (collector|process)_.*
      action: keep
{{- end -}}
