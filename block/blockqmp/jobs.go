package blockqmp

import (
	"context"

	"hv/block/formats"
	"hv/block/jobs"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// JobHost has jobs, and makes images.
type JobHost interface {
	Jobs() *jobs.Manager
	CreateImage(o *qapi.BlockdevCreateOptions) (formats.Creation, error)
}

// RegisterJobs adds the commands about jobs to a table.
func RegisterJobs(t *dispatch.Table, host JobHost) {
	verb := func(cmd qapi.Command[qapi.JobArgs, qapi.Empty], f func(id string) error) {
		dispatch.Register(t, cmd, func(_ context.Context, a qapi.JobArgs) (qapi.Empty, error) { return qapi.Empty{}, f(a.Id) })
	}
	all := host.Jobs()
	verb(qapi.CmdJobPause, all.Pause)
	verb(qapi.CmdJobResume, all.Resume)
	verb(qapi.CmdJobCancel, func(id string) error { return all.Cancel(id, true) })
	verb(qapi.CmdJobComplete, all.Complete)
	verb(qapi.CmdJobDismiss, all.Dismiss)
	verb(qapi.CmdJobFinalize, all.Finalize)
	dispatch.Register(t, qapi.CmdQueryJobs, func(context.Context, qapi.Empty) (qapi.JobInfoList, error) { return all.Infos(), nil })
	dispatch.Register(t, qapi.CmdBlockdevCreate, func(_ context.Context, a qapi.BlockdevCreateArgs) (qapi.Empty, error) {
		return qapi.Empty{}, create(host, &a)
	})
}

// create starts a job that makes an image.
func create(host JobHost, a *qapi.BlockdevCreateArgs) error {
	c, err := host.CreateImage(&a.Options)
	if err != nil {
		return err
	}
	closing := func() { _ = c.Close() } // what it wrote was flushed
	j, err := host.Jobs().New(jobs.Spec{
		ID: a.JobId, Type: qapi.JobTypeCreate, ManualDismiss: true, Clean: closing,
		Run: func(j *jobs.Job) error {
			j.Expect(1)
			defer j.Progress(1)
			return c.Run(j.Point)
		},
	})
	if err != nil {
		closing()
		return err
	}
	j.Start()
	return nil
}
