{{/* Names, labels and the parts that every pod has. */}}
{{- define "lapwing.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "lapwing.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lapwing.labels" -}}
{{ include "lapwing.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "lapwing.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "lapwing.protected" -}}
{{- if not (or .Values.auth.existingSecret .Values.auth.insecure) }}
{{- fail "Say who may send and ask: `kubectl create secret generic lapwing-tokens --from-file=tokens` and --set auth.existingSecret=lapwing-tokens; docs/security.md says what is in the file. Or --set auth.insecure=true, where everybody in the cluster may." }}
{{- end }}
{{- end }}

{{- define "lapwing.shared" -}}
{{- if eq .Values.shape "scaled" }}
{{- if not (and (dig "lake" "catalog" "" .Values.config) (dig "state" "url" "" .Values.config)) }}
{{- fail "shape=scaled needs a lake and a state that all pods share: config.lake.catalog, config.lake.data and config.state.url; docs/scaling.md says how they look." }}
{{- end }}
{{- end }}
{{- end }}

{{- define "lapwing.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "lapwing.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Settings, rules, models, targets, tokens and certificates, as one folder. */}}
{{- define "lapwing.files" -}}
projected:
  sources:
    - configMap:
        name: {{ include "lapwing.name" . }}
        items:
          - {key: lapwing.yaml, path: lapwing.yaml}
          {{- if .Values.notify }}
          - {key: notify.yaml, path: notify.yaml}
          {{- end }}
          {{- range $file := keys .Values.rules | sortAlpha }}
          - {key: {{ printf "rules.%s" $file }}, path: {{ printf "rules/%s" $file }}}
          {{- end }}
          {{- range $file := keys .Values.models | sortAlpha }}
          - {key: {{ printf "models.%s" $file }}, path: {{ printf "models/%s" $file }}}
          {{- end }}
    {{- with .Values.auth.existingSecret }}
    - secret:
        name: {{ . }}
        items: [{key: tokens, path: tokens}]
    {{- end }}
    {{- with .Values.tls.existingSecret }}
    - secret:
        name: {{ . }}
        items: [{key: tls.crt, path: tls/tls.crt}, {key: tls.key, path: tls/tls.key}]
    {{- end }}
{{- end }}

{{- define "lapwing.environment" -}}
{{- if .Values.auth.existingSecret }}
- {name: LAPWING_AUTH__TOKENS, value: /etc/lapwing/tokens}
{{- else }}
- {name: LAPWING_INSECURE, value: "true"}
{{- end }}
{{- if .Values.tls.existingSecret }}
- {name: LAPWING_TLS__CERTIFICATE, value: /etc/lapwing/tls/tls.crt}
- {name: LAPWING_TLS__KEY, value: /etc/lapwing/tls/tls.key}
{{- end }}
{{- with .Values.environment }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whether it lives, and whether it takes or tells anything: `port` is the name of the port that is asked. */}}
{{- define "lapwing.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (not (empty .root.Values.tls.existingSecret)) -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ .port }}, scheme: {{ $scheme }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: {{ .port }}, scheme: {{ $scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: {{ .port }}, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- define "lapwing.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
