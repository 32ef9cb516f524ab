package mentor

import (
	"context"
	"fmt"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/httpapi"
	"selflink/services/mentor/mentordb"
)

// Task is a small thing to do on a day.
type Task struct {
	ID        int64             `json:"id"`
	Task      string            `json:"task"`
	DueDate   httpapi.Date      `json:"due_date"`
	Status    string            `json:"status" enum:"pending,completed,skipped"`
	CreatedAt httpapi.Timestamp `json:"created_at"`
	UpdatedAt httpapi.Timestamp `json:"updated_at"`
}

// suggestion is the task of a day that has none.
const suggestion = "Sit quietly for three minutes and write down one thing you notice about yourself."

// newTask is a whole task; its status may be left out.
type newTask struct {
	Task    string              `json:"task" max:"255"`
	DueDate httpapi.Date        `json:"due_date"`
	Status  httpapi.Opt[string] `json:"status" enum:"pending,completed,skipped"`
}

type taskChanges struct {
	Task    httpapi.Opt[string]       `json:"task" max:"255"`
	DueDate httpapi.Opt[httpapi.Date] `json:"due_date"`
	Status  httpapi.Opt[string]       `json:"status" enum:"pending,completed,skipped"`
}

// changes makes a whole task a change of everything.
func (t newTask) changes() taskChanges {
	return taskChanges{
		Task:    httpapi.Opt[string]{Set: true, Value: t.Task},
		DueDate: httpapi.Opt[httpapi.Date]{Set: true, Value: t.DueDate},
		Status:  t.Status,
	}
}

func publicTask(r mentordb.TaskRow) Task {
	return Task{
		r.ID, r.Task, httpapi.DateOf(r.DueDate), r.Status, httpapi.Timestamp(r.CreatedAt), httpapi.Timestamp(r.UpdatedAt),
	}
}

// today is the server's day, as a date of Postgres.
func (s *Service) today() time.Time { return httpapi.DateOf(s.Clock()).Time() }

// notPast refuses days that are over.
func (s *Service) notPast(d httpapi.Date) error {
	if d.Time().Before(s.today()) {
		return httpapi.Invalid("due_date", "Due date cannot be in the past")
	}
	return nil
}

func (s *Service) addTask(ctx context.Context, user int64, in newTask) (Task, error) {
	if err := s.notPast(in.DueDate); err != nil {
		return Task{}, err
	}
	r, err := s.q.AddTask(ctx, mentordb.AddTaskParams{
		ID: s.IDs.Next(), UserID: user, Task: in.Task, DueDate: in.DueDate.Time(), Status: in.Status.Or("pending"),
	})
	if err != nil {
		return Task{}, fmt.Errorf("store task: %w", err)
	}
	return publicTask(mentordb.TaskRow(r)), nil
}

func (s *Service) task(ctx context.Context, user, id int64) (Task, error) {
	r, err := s.q.Task(ctx, mentordb.TaskParams{ID: id, UserID: user})
	if database.IsNoRows(err) {
		return Task{}, httpapi.NotFound("DailyTask")
	}
	if err != nil {
		return Task{}, fmt.Errorf("read task: %w", err)
	}
	return publicTask(r), nil
}

func (s *Service) changeTask(ctx context.Context, user, id int64, in taskChanges) (Task, error) {
	// Whether the task is there comes before whether the change is good.
	if _, err := s.task(ctx, user, id); err != nil {
		return Task{}, err
	}
	p := mentordb.ChangeTaskParams{ID: id, UserID: user, Task: in.Task.Ptr(), Status: in.Status.Ptr()}
	if in.DueDate.Set {
		if err := s.notPast(in.DueDate.Value); err != nil {
			return Task{}, err
		}
		day := in.DueDate.Value.Time()
		p.DueDate = &day
	}
	r, err := s.q.ChangeTask(ctx, p)
	if database.IsNoRows(err) {
		return Task{}, httpapi.NotFound("DailyTask")
	}
	if err != nil {
		return Task{}, fmt.Errorf("store task: %w", err)
	}
	return publicTask(mentordb.TaskRow(r)), nil
}

func (s *Service) removeTask(ctx context.Context, user, id int64) error {
	n, err := s.q.DeleteTask(ctx, mentordb.DeleteTaskParams{ID: id, UserID: user})
	if err != nil {
		return fmt.Errorf("delete task: %w", err)
	}
	if n == 0 {
		return httpapi.NotFound("DailyTask")
	}
	return nil
}

// taskOfToday gives the newest task of the day; a day without one gets a
// suggestion.
func (s *Service) taskOfToday(ctx context.Context, user int64) (Task, error) {
	r, err := s.q.TaskOfDay(ctx, mentordb.TaskOfDayParams{UserID: user, Day: s.today()})
	if err == nil {
		return publicTask(mentordb.TaskRow(r)), nil
	}
	if !database.IsNoRows(err) {
		return Task{}, fmt.Errorf("read task: %w", err)
	}
	made, err := s.q.SuggestTask(ctx, mentordb.SuggestTaskParams{ID: s.IDs.Next(), UserID: user, Task: suggestion, Day: s.today()})
	if err != nil {
		return Task{}, fmt.Errorf("suggest task: %w", err)
	}
	return publicTask(mentordb.TaskRow(made)), nil
}

func (s *Service) tasks(ctx context.Context, user int64, in httpapi.PageQuery) (httpapi.Page[Task], error) {
	k, p, err := readPosition(in)
	if err != nil {
		return httpapi.Page[Task]{}, err
	}
	var rows []mentordb.TaskRow
	if p.down {
		var down []mentordb.TasksDownRow
		down, err = s.q.TasksDown(ctx, mentordb.TasksDownParams{UserID: user, At: p.at, After: p.after, Most: p.most})
		for _, r := range down {
			rows = append(rows, mentordb.TaskRow(r))
		}
	} else {
		var up []mentordb.TasksUpRow
		up, err = s.q.TasksUp(ctx, mentordb.TasksUpParams{UserID: user, At: p.at, After: p.after, Most: p.most})
		for _, r := range up {
			rows = append(rows, mentordb.TaskRow(r))
		}
	}
	if err != nil {
		return httpapi.Page[Task]{}, fmt.Errorf("list tasks: %w", err)
	}
	return httpapi.BuildPage(ctx, k, rows,
		func(r mentordb.TaskRow) (string, int64) { return httpapi.TimeKey(r.CreatedAt), r.ID }, publicTask), nil
}
