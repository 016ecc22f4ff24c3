{{- define "settlewatch.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "settlewatch.labels" -}}
app.kubernetes.io/name: settlewatch
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "settlewatch.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "settlewatch.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* The servers that a program connects to, by its name. */}}
{{- define "settlewatch.needs" -}}
{{- get (dict
  "authorization" "kafka card-key"
  "capture" "kafka card-key"
  "settlement" "kafka card-key"
  "joiner" "kafka redis"
  "warehouse" "kafka clickhouse"
  "apply" "kafka"
  "migrate" "clickhouse") . -}}
{{- end }}

{{/* The secrets, of those in the values, that a program needs: a list in JSON. */}}
{{- define "settlewatch.secrets" -}}
{{- $needs := splitList " " (include "settlewatch.needs" .program) -}}
{{- $out := list -}}
{{- range $setting, $key := .root.Values.secret.keys -}}
{{- if has (trimSuffix "-password" $setting) $needs -}}
{{- $out = append $out $setting -}}
{{- end -}}
{{- end -}}
{{- $out | sortAlpha | toJson -}}
{{- end }}

{{- define "settlewatch.env" -}}
{{- $root := .root -}}
{{- $needs := splitList " " (include "settlewatch.needs" .program) -}}
- name: SETTLEWATCH_CONFIG
  value: /etc/settlewatch/settings.yaml
{{- if hasKey $root.Values.services .program }}
- name: SETTLEWATCH_HTTP_ADDR
  value: "0.0.0.0:8080"
- name: GOMEMLIMIT
  valueFrom:
    resourceFieldRef: {resource: limits.memory}
{{- end }}
{{- range include "settlewatch.secrets" . | fromJsonArray }}
- name: SETTLEWATCH_{{ . | upper | replace "-" "_" }}_FILE
  value: /etc/settlewatch/secrets/{{ . }}
{{- end }}
{{- if $root.Values.authorities.configMap }}
{{- range $root.Values.authorities.servers }}
{{- if has . $needs }}
- name: SETTLEWATCH_{{ upper . }}_TLS_CA_FILE
  value: /etc/settlewatch/authorities/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "settlewatch.mounts" -}}
- name: settings
  mountPath: /etc/settlewatch/settings.yaml
  subPath: settings.yaml
  readOnly: true
{{- if include "settlewatch.secrets" . | fromJsonArray }}
- name: secrets
  mountPath: /etc/settlewatch/secrets
  readOnly: true
{{- end }}
{{- if .root.Values.authorities.configMap }}
- name: authorities
  mountPath: /etc/settlewatch/authorities
  readOnly: true
{{- end }}
{{- end }}

{{- define "settlewatch.volumes" -}}
{{- $secrets := include "settlewatch.secrets" . | fromJsonArray -}}
{{- $root := .root -}}
- name: settings
  configMap:
    name: {{ .settings }}
{{- if $secrets }}
- name: secrets
  secret:
    secretName: {{ $root.Values.secret.name | quote }}
    defaultMode: 0440
    items:
      {{- range $secrets }}
      - {key: {{ index $root.Values.secret.keys . | quote }}, path: {{ . | quote }}}
      {{- end }}
{{- end }}
{{- if $root.Values.authorities.configMap }}
- name: authorities
  configMap:
    name: {{ $root.Values.authorities.configMap | quote }}
    items:
      - {key: {{ $root.Values.authorities.key | quote }}, path: ca.crt}
{{- end }}
{{- end }}

{{- define "settlewatch.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "settlewatch.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "settlewatch.settings" -}}
{{- range $name := list "kafka-brokers" "redis-addrs" "clickhouse-dsn" "card-key-id" -}}
{{- if not (index $.Values.settings $name) -}}
{{- fail (printf "settings.%s is required: give it with --set or in a values file" $name) -}}
{{- end -}}
{{- end -}}
{{ toYaml .Values.settings }}
{{- end }}
